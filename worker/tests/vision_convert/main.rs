//! `worker convert`: files in the forms that `torch.save` writes, made here byte by byte, become bundles and galleries.

mod bundles;
#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod galleries;
mod state_dict;
mod torch_save;
