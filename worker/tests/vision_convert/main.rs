//! `worker convert`: files in the forms that `torch.save` writes, made here byte by byte, become bundles and galleries.

mod bundles;
mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod galleries;
mod pickler;
mod state_dict;
mod torch_save;
