//! The Kubernetes API of the project: types only. The CRDs are generated from here.

pub mod names;
pub mod v1alpha1;
