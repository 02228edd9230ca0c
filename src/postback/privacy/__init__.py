"""Privacy: erasing a person, giving out what is stored of one, sealing anew under a newer key.

erasures   what was asked for, how far it came, the receipt
erasing    the walk that does it
people     whom an identifier means
receipt    signing
exporting  the same walk, reading
resealing  old blobs under the newest seal key
"""
