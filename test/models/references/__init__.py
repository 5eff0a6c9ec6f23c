"""The small models of test/models, their PyTorch references and how they are made.

family.py says what a family is and makes its files; encoders.py, decoders.py,
seq2seq.py, vision.py and rewritten.py are the tables of families.
"""
