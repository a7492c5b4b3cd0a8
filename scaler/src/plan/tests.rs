mod histories;
mod scale_in;
mod scale_out;
mod simulated;
