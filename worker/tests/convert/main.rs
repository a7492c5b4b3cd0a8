//! `worker convert`: the published weights, and files as `torch.save` writes them, made here byte by byte.

mod bundles;
mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod galleries;
mod pickler;
mod published;
mod state_dict;
mod torch_save;
