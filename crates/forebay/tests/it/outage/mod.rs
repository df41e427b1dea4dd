//! The database goes away in every way a database does, events keep coming in, and when it is back each
//! acknowledged one is in its table exactly once.

mod fan_out;
mod faults;
mod stopped;
