mod ownership;
