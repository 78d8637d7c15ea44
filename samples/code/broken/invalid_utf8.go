package broken

// Grüße
const Answer = 42
