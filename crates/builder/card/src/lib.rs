//! The whole way from board, base and lab to a card.
