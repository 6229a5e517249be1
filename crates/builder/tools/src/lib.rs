//! Compilers, QEMU and clients unpacked from packages.
