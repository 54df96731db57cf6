"""What keeps a registry's owner calm: taking over another registry's content, checking, backup and restore.

Everything here is long work (`corereg.store.work`) that can be begun again. It reads database and storage by itself,
batch by batch, and changes things through a `Session`.
"""
