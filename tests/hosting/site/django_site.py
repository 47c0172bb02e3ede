"""A Django project in one module."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import path

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "django_site"
USE_TZ = True


def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"host": "fine"})


urlpatterns = [path("health", health)]
