//! Brokers whose programs take long to get.

mod kafka;
mod minio;
mod mosquitto;
mod redis;
