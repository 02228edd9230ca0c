"""Delivery: what is due goes out, and what came of it is written down.

`lane` claims, `prepare` joins and builds, `sender` alone touches the network, `verdict` says what an outcome means for
the delivery, `settler` writes it. No transaction is open while the network is used.
"""
