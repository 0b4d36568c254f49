//! Asks the running pods what they enforce; its findings reach the status by channel.
