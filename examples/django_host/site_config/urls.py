"""The pages of the host."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path


async def home(request: HttpRequest) -> HttpResponse:
    """Show that Django answers, and what it sees of the request."""
    return JsonResponse({"message": "Hello from Django", "path": request.path})


urlpatterns = [path("", home), path("agents/", home)]
