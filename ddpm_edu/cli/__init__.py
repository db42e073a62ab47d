"""命令行：python -m ddpm_edu"""
