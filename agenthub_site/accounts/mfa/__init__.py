"""Second factors and passkeys: allauth's, with their secrets encrypted and every change in the trail."""
