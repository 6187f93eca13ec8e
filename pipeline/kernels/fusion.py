"""Whether Triton's compiler may join a product and a sum, which are rounded once then: every launch of ours says so.

Triton 3.9 joins them unless told not to, 3.10 will not unless told to: the bits and the speed of a launch that says
nothing change with the version. Both are options of a launch and of `triton.compile`.
"""

FUSED = {"enable_fp_fusion": True}
APART = {"enable_fp_fusion": False}
