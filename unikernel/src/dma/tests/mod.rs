mod marking;
mod migration;
mod ownership;
mod threads;
