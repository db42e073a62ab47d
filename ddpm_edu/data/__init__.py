from .digits import DigitsDataModule
