"""
@article{Nguyen2021,
  author  = {Nguyen, N. P. and Ersoy, I. and Gotberg, J. and Bunyak, F. and White, T. A.},
  title   = {{DRPnet}: automated particle picking in cryo-electron micrographs using deep regression},
  journal = {BMC Bioinformatics},
  volume  = {22},
  pages   = {55},
  year    = {2021},
  doi     = {https://doi.org/10.1186/s12859-020-03948-x}
}

@article{Zhu2017,
  author  = {Zhu, Y. and Ouyang, Q. and Mao, Y.},
  title   = {A deep convolutional neural network approach to single-particle recognition in cryo-electron microscopy},
  journal = {BMC Bioinformatics},
  volume  = {18},
  pages   = {348},
  year    = {2017},
  doi     = {https://doi.org/10.1186/s12859-017-1757-y}
}

@article{AlAzzawi2020,
  author  = {Al-Azzawi, A. and Ouadou, A. and Max, H. and Duan, Y. and Tanner, J. J. and Cheng, J.},
  title   = {{DeepCryoPicker}: fully automated deep neural network for single protein particle picking in cryo-{EM}},
  journal = {BMC Bioinformatics},
  volume  = {21},
  pages   = {509},
  year    = {2020},
  doi     = {https://doi.org/10.1186/s12859-020-03809-7}
}
"""
