"""What goes up and is never lost nor said twice: numbers, frames, the store, what is sent when."""
