"""What a trained joint prior of written digits, spoken digits and their names can do. Nothing here
is collected by pytest: each file is a program over runs that take long to train.
"""
