mod histories;
mod scale_in;
mod scale_out;
pub(crate) mod simulated;
