mod agent;
mod migration;
mod service;
