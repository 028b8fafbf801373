// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {AssetShares} from "../src/asset/AssetShares.sol";
import {BuyOut} from "../src/asset/BuyOut.sol";
import {Dividends} from "../src/asset/Dividends.sol";
import {TokenRoles} from "../src/asset/TokenRoles.sol";
import {SharesCast} from "./SharesCast.sol";

contract AssetSharesTest is SharesCast {
    // -- sharing -----------------------------------------------------------------------------------------------------

    function test_the_asset_is_locked_while_it_is_shared() public {
        assertEq(assets.ownerOf(roof), address(shares));
        assertEq(shares.sharesOf(roof), 100);
        assertEq(held(ADA), 40);
        assertEq(shares.uri(roof), "ipfs://roof");
        BuyOut.Sharing memory sharing = shares.sharingOf(roof);
        assertEq(uint256(sharing.stage), uint256(BuyOut.Stage.SHARED));
        assertEq(sharing.quorumShares, 70);
        VM.startPrank(ADA);
        VM.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, ADA, roof));
        assets.transferFrom(address(shares), ADA, roof);
        VM.expectRevert(abi.encodeWithSelector(AssetShares.AlreadyShared.selector, roof));
        shares.fractionalise(roof, 1, 1);
        VM.expectRevert(abi.encodeWithSelector(AssetShares.NotAllShares.selector, 40));
        shares.redeem(roof);
    }

    function test_only_the_owner_shares_an_asset_by_a_quorum_of_two_thirds() public {
        uint256 second = register(2);
        VM.startPrank(BO);
        VM.expectRevert(abi.encodeWithSelector(AssetShares.WrongQuorum.selector, 66));
        shares.fractionalise(second, 100, 66);
        VM.expectRevert(abi.encodeWithSelector(AssetShares.WrongQuorum.selector, 101));
        shares.fractionalise(second, 100, 101);
        VM.expectRevert(abi.encodeWithSelector(AssetShares.WrongQuorum.selector, 0));
        shares.fractionalise(second, 0, 0);
        assets.approve(address(shares), second);
        VM.stopPrank();
        VM.startPrank(ADA);
        VM.expectRevert();
        shares.fractionalise(second, 100, 67);
        VM.stopPrank();
        VM.prank(BO);
        shares.fractionalise(second, 100, 67);
        assertEq(shares.balanceOf(BO, second), 100);
    }

    function test_the_holder_of_all_shares_takes_the_asset_back() public {
        move(BO, CY, 35);
        move(ADA, CY, 40);
        VM.prank(CY);
        shares.redeem(roof);
        assertEq(assets.ownerOf(roof), CY);
        assertEq(shares.sharesOf(roof), 0);
        assertEq(shares.operatorOf(roof), address(0));
        VM.expectRevert(abi.encodeWithSelector(Dividends.NotShared.selector, roof));
        shares.payDividend(roof, 1);
        VM.expectRevert(abi.encodeWithSelector(Dividends.NotShared.selector, roof));
        shares.redeem(roof);
        VM.expectRevert(abi.encodeWithSelector(Dividends.NotShared.selector, roof));
        shares.offer(roof, 1);
        VM.expectRevert(abi.encodeWithSelector(Dividends.NotShared.selector, roof));
        shares.appointOperator(roof, CY);
    }

    function test_a_majority_says_who_runs_the_asset() public {
        assertEq(shares.operatorOf(roof), ADA);
        assertTrue(assets.hasTokenRole(roof, TokenRoles.Role.OPERATOR, ADA));
        VM.prank(BO);
        VM.expectRevert(abi.encodeWithSelector(AssetShares.NotTheMajority.selector, 35));
        shares.appointOperator(roof, BO);
        move(CY, BO, 15);
        VM.prank(BO);
        VM.expectRevert(abi.encodeWithSelector(AssetShares.NotTheMajority.selector, 50));
        shares.appointOperator(roof, BO);
        move(CY, BO, 1);
        VM.prank(BO);
        shares.appointOperator(roof, DI);
        assertEq(shares.operatorOf(roof), DI);
        assertTrue(!assets.hasTokenRole(roof, TokenRoles.Role.OPERATOR, ADA));
        assertTrue(assets.hasTokenRole(roof, TokenRoles.Role.OPERATOR, DI));
    }

    // -- dividends ---------------------------------------------------------------------------------------------------

    function test_a_dividend_is_divided_by_shares() public {
        shares.payDividend(roof, 1_000);
        assertEq(claimable(ADA), 400);
        assertEq(claimable(BO), 350);
        assertEq(claimable(CY), 250);
        assertEq(claim(BO), 350);
        assertEq(claim(BO), 0);
        assertEq(token.balanceOf(BO), 1_000_350);
        assertConserved();
    }

    function test_a_dividend_belongs_to_whoever_held_the_shares_when_it_was_paid() public {
        shares.payDividend(roof, 100);
        move(ADA, DI, 40);
        shares.payDividend(roof, 100);
        assertEq(claim(ADA), 40);
        assertEq(claim(DI), 40);
    }

    function test_fractions_of_a_unit_are_not_lost() public {
        shares.payDividend(roof, 1); // 0.4, 0.35 and 0.25
        assertEq(claim(ADA), 0);
        shares.payDividend(roof, 1);
        shares.payDividend(roof, 1);
        // 0.8 and 0.4 are 1.2, less what 2^128 cannot express of a hundredth
        assertEq(claim(ADA), 1);
        for (uint256 i = 0; i < 3; i++) {
            shares.payDividend(roof, 99);
        }
        assertEq(claim(ADA) + 1, 120);
    }

    function test_shares_sent_in_batches_and_to_oneself_earn_the_same() public {
        shares.payDividend(roof, 100);
        uint256[] memory ids = new uint256[](3);
        uint256[] memory counts = new uint256[](3);
        (ids[0], ids[1], ids[2]) = (roof, roof, roof);
        (counts[0], counts[1], counts[2]) = (3, 4, 5);
        VM.prank(ADA);
        shares.safeBatchTransferFrom(ADA, BO, ids, counts, "");
        move(ADA, ADA, 28);
        assertEq(claimable(ADA), 40);
        assertEq(claimable(BO), 35);
        shares.payDividend(roof, 100);
        assertEq(claimable(ADA), 68);
        assertEq(claimable(BO), 82);
    }

    function test_no_amount_beyond_the_accounts_is_taken() public {
        VM.expectRevert(abi.encodeWithSelector(Dividends.AmountTooLarge.selector, uint256(1) << 128));
        shares.payDividend(roof, uint256(1) << 128);
        shares.payDividend(roof, type(uint128).max);
        // A hundredth of it is not a multiple of 1/2^128: the last unit waits in the remainder.
        assertEq(claimable(ADA) + 1, uint256(type(uint128).max) * 40 / 100);
        VM.expectRevert();
        shares.payDividend(roof, 1);
    }

    /// @dev Exactly what was paid in and not taken out: entitlements of all holders and the remainder.
    function testFuzz_nothing_is_lost_however_it_is_divided(
        uint64[6] memory paid,
        uint16[6] memory moved,
        uint8[6] memory who,
        uint96 count
    ) public {
        uint256 id = register(2);
        uint128 total = uint128(bound(count, 3, type(uint96).max));
        VM.startPrank(BO);
        assets.approve(address(shares), id);
        shares.fractionalise(id, total, total);
        shares.safeTransferFrom(BO, ADA, id, total / 3, "");
        VM.stopPrank();
        address[3] memory all = [ADA, BO, CY];
        for (uint256 i = 0; i < 6; i++) {
            shares.payDividend(id, paid[i]);
            address from = all[who[i] % 3];
            address to = all[(who[i] / 3) % 3];
            uint256 some = bound(moved[i], 0, shares.balanceOf(from, id));
            VM.startPrank(from);
            shares.safeTransferFrom(from, to, id, some, "");
            if (who[i] > 127) shares.claim(id);
            VM.stopPrank();
        }
        Dividends.Pot memory pot = shares.potOf(id);
        uint256 entitled = pot.remainder;
        uint256 whole;
        for (uint256 i = 0; i < 3; i++) {
            entitled += shares.entitledOf(id, all[i]);
            whole += shares.claimable(id, all[i]);
        }
        uint256 open = pot.paidInUnits - pot.claimedUnits;
        assertEq(entitled, open << 128);
        assertTrue(whole <= open && open - whole <= 3);
        assertEq(token.balanceOf(address(shares)), open);
    }
}
