"""网页书：由存好输出的 notebook 写成一个文件夹，不开内核、不联网，双击就能读

pages 一本 notebook 变成一页；words 公式与图的说明变成读得出的字；navigation 边栏、本页与前后章；cover 封面；
frame 每一页的外框；search 全文检索的索引；panels 活的面板；live 模型在网页里画；printing 打印成 PDF；book 把它们写进一个文件夹；assets/ 样式与脚本
"""
