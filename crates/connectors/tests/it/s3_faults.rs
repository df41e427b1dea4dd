//! Buckets that are not there, keys that are not good, and answers that are no good news.
