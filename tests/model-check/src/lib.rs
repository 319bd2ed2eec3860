//! Model checking of the marking argument.
