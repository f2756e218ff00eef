"""What every room needs: settings, clock, chance, logging."""
