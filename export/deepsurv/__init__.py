"""DeepSurv with feature attention and two residual blocks: network, loss, training, choice of settings, fit.

After Wang et al. 2026, section 1.4 (DOI 10.13929/j.issn.1003-3289.2026.03.004), and Katzman et al. 2018,
BMC Med Res Methodol 18:24. Widths and hyper-parameters of the former are not published; those here are ours.
"""
