//! Tests on a real API server and a real cluster, and the commands that set them up.
