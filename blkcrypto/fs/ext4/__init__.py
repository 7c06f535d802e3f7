"""A small reader of ext4 images: superblock, inodes, xattrs, extents, block maps, directories.

It keeps what encryption needs and other readers drop: names as bytes, hashes of casefolded entries, the
encryption context, and whether an extent is written.  Everything read is distrusted: damage ends in
``BadInput``, naming image, inode or block, after work and memory bounded by the size of the image.
It never writes metadata.

Sources: the on-disk format as Documentation/filesystems/ext4/ describes it; e2fsprogs' images and images of
Linux as references.
"""

from blkcrypto.fs.ext4.volume import Ext4Volume

__all__ = ["Ext4Volume"]
