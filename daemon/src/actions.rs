//! Building, signing and submitting objects.
