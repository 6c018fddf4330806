//! What unchanged clients see: the docker command line and tare side by side, on real images.

mod api;
mod build;
mod daemons;
mod difference;
mod image;
mod layers;
mod life;
mod limits;
mod network;
mod platforms;
mod registries;
mod ship;
mod storage;
mod streams;
mod usage;
