"""Encrypted files in real ext4 images: listed, read, verified and overwritten with the master key.

Keys, IVs and ciphers are those of ``blkcrypto.fs.fscrypt``; the filesystem is read by ``blkcrypto.fs.ext4``.
"""

from blkcrypto.fs.image.contents import FileContents
from blkcrypto.fs.image.keys import ImageKeys
from blkcrypto.fs.image.tree import EncryptedImage, Node

__all__ = ["EncryptedImage", "FileContents", "ImageKeys", "Node"]
