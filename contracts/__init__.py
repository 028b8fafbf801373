"""What the parties have agreed: the messages they sign, the rules they are judged by, the contracts that enforce them.

Everything here is integers and bytes, imports nothing else of the project, and is the same for the
home, the operator, the auditor and the chain.
"""
