"""Everything with a vocabulary in its shape: vocabularies, initialisers, language packs."""
