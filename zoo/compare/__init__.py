"""Did pretraining pay, on my data? Several techniques within equal budgets, with few labels, against none.

``plan`` says what is trained: everything else is a function of it. A ``cell`` is one training, or one linear model, of
which a small file is left. ``trainings`` makes them, ``pool`` lets them run in processes, ``choice`` chooses by
validation, and ``outcome`` gives the table. ``run`` puts it together.
"""
