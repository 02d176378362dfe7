//! What only a real server shows.
