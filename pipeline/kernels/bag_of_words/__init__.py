"""The head's product, the largest logit of each token over a sequence, and the cross entropy of its bag of words."""

from pipeline.kernels.bag_of_words.reference import bag_of_words_sum

__all__ = ["bag_of_words_sum"]
