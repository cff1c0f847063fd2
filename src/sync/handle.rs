//! How a reader has what it reads: borrowed or shared.

use std::ops::Deref;
use std::sync::Arc;

pub(super) enum Handle<'a, P> {
    Borrowed(&'a P),
    Shared(Arc<P>),
}

impl<P> Deref for Handle<'_, P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        match self {
            Handle::Borrowed(primitive) => primitive,
            Handle::Shared(primitive) => primitive,
        }
    }
}

impl<P> Clone for Handle<'_, P> {
    fn clone(&self) -> Self {
        match self {
            Handle::Borrowed(primitive) => Handle::Borrowed(primitive),
            Handle::Shared(primitive) => Handle::Shared(primitive.clone()),
        }
    }
}
