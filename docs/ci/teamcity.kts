// foretest in TeamCity: .teamcity/settings.kts (`foretest ci init teamcity` puts it there).
// Run the configuration Learn once by hand: the first run learns.
import jetbrains.buildServer.configs.kotlin.*
import jetbrains.buildServer.configs.kotlin.buildFeatures.pullRequests
import jetbrains.buildServer.configs.kotlin.buildSteps.script
import jetbrains.buildServer.configs.kotlin.triggers.schedule
import jetbrains.buildServer.configs.kotlin.triggers.vcs

version = "2024.12"

project {
    buildType(Tests)
    buildType(Learn)
}

object Tests : BuildType({
    name = "Tests"
    foretest()
    triggers { vcs { branchFilter = "+:*" } }
    // Requests are built with their number, target and source as parameters, which foretest reads.
    features { pullRequests { provider = github { authType = vcsRoot(); filterAuthorRole = PullRequests.GitHubRoleFilter.MEMBER } } }
})

object Learn : BuildType({
    name = "Learn"
    foretest()
    params { param("env.LEARN", "true") }
    triggers { schedule { schedulingPolicy = daily { hour = 3 }; branchFilter = "+:<default>"; triggerBuild = always() } }
})

fun BuildType.foretest() {
    vcs { root(DslContext.settingsRoot) }
    params {
        // `observe` runs everything and says what `select` would have left out. To switch, write
        // `select`; what is no request always runs whole.
        param("env.FORETEST_MODE", "observe")
        // A folder of the agent. With several agents: s3://bucket/prefix.
        param("env.FORETEST_STATE", "%teamcity.agent.home.dir%/foretest-state/%teamcity.project.id%")
        param("env.VENV", "%system.teamcity.build.tempDir%/venv")
        param("env.DEFAULT_BRANCH", "%teamcity.build.branch.is_default%")
        param("teamcity.git.shallowClone", "false") // the base of the request must be in the clone
    }
    artifactRules = "foretest-summary.md"
    steps {
        script {
            name = "Install"
            scriptContent = """
                set -eu
                python3 -m venv "${'$'}VENV"
                . "${'$'}VENV/bin/activate"
                pip install -e . "foretest[engine]" # your own install line, and foretest
                # The checkout holds the request alone: what it is compared with must be here too.
                git fetch --no-tags origin "+refs/heads/*:refs/remotes/origin/*"
                foretest state pull "${'$'}FORETEST_STATE" || echo "No state yet, so everything runs."
            """.trimIndent()
        }
        script {
            name = "Tests"
            scriptContent = """
                set -eu
                . "${'$'}VENV/bin/activate"
                if [ "${'$'}DEFAULT_BRANCH" = true ]; then FORETEST_MODE=observe; fi
                pytest --foretest="${'$'}FORETEST_MODE"
            """.trimIndent()
        }
        script {
            name = "Record"
            executionMode = BuildStep.ExecutionMode.ALWAYS // red runs teach the most
            scriptContent = """
                set -eu
                . "${'$'}VENV/bin/activate"
                status=0
                foretest record || status=${'$'}?
                foretest summary > foretest-summary.md || echo "Nothing was decided."
                if [ "${'$'}{LEARN:-}" = true ]; then foretest learn --within 10m; fi
                if [ "${'$'}DEFAULT_BRANCH" = true ]; then
                    foretest state push "${'$'}FORETEST_STATE" || echo "Nothing was learned yet."
                fi
                exit ${'$'}status
            """.trimIndent()
        }
    }
}
