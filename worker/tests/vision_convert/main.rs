//! `worker convert`: files in the forms that `torch.save` writes, made here byte by byte, become bundles and galleries.

mod bundles;
mod damaged;
mod galleries;
mod state_dict;
mod torch_save;
