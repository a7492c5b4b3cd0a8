mod course;
mod histories;
mod published;
mod scale_in;
mod scale_out;
mod schedules;
mod simulated;
