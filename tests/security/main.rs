//! What an attacker inside a container, or behind an image, can do: nothing of the classes below.

mod hostile_images;
mod inside;
mod nonsense;
mod outside;
mod wedged;
