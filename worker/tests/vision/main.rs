//! The recognizer and its parts, on the sample photos and the model that `make setup` makes.

#[path = "../common/mod.rs"]
mod common;
mod convolve;
mod cut;
mod detect;
mod evaluate;
mod files;
mod gallery;
mod golden;
mod instructions;
mod photos;
