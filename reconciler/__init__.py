"""What runs cubes for a purpose: a site's passes, and trials.

A pass is observe, plan, run, check, sign, publish; a trial is the same steps on the demo dataset.
"""
