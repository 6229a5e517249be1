//! The Pi and PCs in QEMU, on one wire.
