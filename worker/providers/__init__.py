"""Where documents and answers come from: what an execution is plugged into (design section 4).

`echo` answers by itself. `chain` asks models, over the network: for the live trials that a person
chose, within a budget.
"""
