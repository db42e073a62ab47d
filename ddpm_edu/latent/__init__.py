"""潜空间里的扩散：自编码器、词的嵌入、LatentDiffusion、事先算好的潜变量"""
